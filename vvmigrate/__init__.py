"""vvmigrate: brings a video-analytics appliance up in numbered, recorded, reversible steps."""

__version__ = "0.1.0"
