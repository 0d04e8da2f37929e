"""How processes start, meet, stop and are watched."""
