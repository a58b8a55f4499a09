"""The bridge: from what training leaves to the one file a device needs."""
