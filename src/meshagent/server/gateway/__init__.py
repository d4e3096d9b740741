"""HTTP routes of the server, with authentication and the limits that apply before it."""
