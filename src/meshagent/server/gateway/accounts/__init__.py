"""The accounts REST API: one table of routes, from which come the handlers, the access checks and OpenAPI."""
