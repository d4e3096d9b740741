"""The client of the accounts REST API, and the models that it shares with the server."""
