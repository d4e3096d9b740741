"""Agents that can be asked and toolkits that can be invoked: registry, routing, calls (protocol 9)."""
