"""What services, dialects and rooms share: participants, operations, the dispatcher, signed URLs."""
