"""Language models without rooms: what is asked and answered, and a model that follows a script."""
