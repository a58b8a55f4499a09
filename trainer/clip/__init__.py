"""IndivAID and its relatives: CLIP encoders, labels, and descriptions that are learnt."""
