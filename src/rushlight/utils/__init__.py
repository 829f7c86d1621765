"""What surrounds a model: data loading, pictures, reports: `rushlight.utils`."""

from rushlight.utils import data as data
