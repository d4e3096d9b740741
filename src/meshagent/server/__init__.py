"""The room server: what self-hosters run (`openmeshagent[server]`)."""
