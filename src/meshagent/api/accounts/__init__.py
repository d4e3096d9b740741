"""The accounts REST API, seen from a program: its client and the models that both sides share."""
