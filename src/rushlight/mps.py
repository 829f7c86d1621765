"""Apple GPUs: `torch.mps`. There are none here."""

from rushlight.absent_device import questions

ANSWERS = questions("mps")
is_available = ANSWERS["is_available"]
is_initialized = ANSWERS["is_initialized"]
device_count = ANSWERS["device_count"]
current_device = ANSWERS["current_device"]
synchronize = ANSWERS["synchronize"]
empty_cache = ANSWERS["empty_cache"]
manual_seed = ANSWERS["manual_seed"]
manual_seed_all = ANSWERS["manual_seed_all"]
seed = ANSWERS["seed"]
