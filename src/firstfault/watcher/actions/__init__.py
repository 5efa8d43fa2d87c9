"""What is done while a training still runs: rules on its record, and the actions that follow from what they find."""
