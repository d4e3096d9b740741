"""The room server. `app.py` puts it together; nothing else names concrete classes or reads configuration."""
