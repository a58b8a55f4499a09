"""Reports over what the device has recorded."""
