"""Reading: tables, folders, images and databases become splits."""
