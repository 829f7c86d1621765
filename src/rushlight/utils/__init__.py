"""What surrounds a model: data loading, pictures, reports: `rushlight.utils`."""

from rushlight.utils import checkpoint as checkpoint
from rushlight.utils import data as data
from rushlight.utils import dlpack as dlpack
