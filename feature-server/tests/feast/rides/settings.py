"""Constants that other modules of the repository use."""

import os

OWNER = "marketplace@example.com"
SCHEMA = "raw"
DAY = 60 * 60 * 24
ENVIRONMENT = os.getenv("ENVIRONMENT", "dev")
