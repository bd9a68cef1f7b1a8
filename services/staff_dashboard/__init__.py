"""The staff board: what all services tell, as one live view. It owns no facts and sends nothing to anybody."""
