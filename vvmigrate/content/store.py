"""Where models stand below the storage root: the contract with the services that use them."""

MODELS = "models"
STORE = "models/.store"
"""Holds the generations of models, each beside what services are told of it."""
INFO = "models/.current_model_info.json"
"""Says which models are the current ones."""
