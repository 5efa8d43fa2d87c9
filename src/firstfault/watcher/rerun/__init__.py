"""A user's script run again, harmlessly, with one thing changed in it: the proof of what a watch suspects."""
