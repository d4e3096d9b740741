"""Agents that can be asked and toolkits that can be invoked: registry, routing, calls (spec room-protocol 5.5)."""
