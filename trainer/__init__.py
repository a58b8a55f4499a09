"""The workstation side of fancl: from a folder of photos to a re-identification encoder."""
