"""Personal data: found by pattern and by column, and masked."""
