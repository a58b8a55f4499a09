"""The device side of fancl: from a folder of pictures to who was seen, without torch."""
