"""From wire messages to operations and back: decoding, grants, answers. Services know none of it."""
