"""Generate and check what follows from the models: JSON Schemas, the AsyncAPI document, compatibility."""
