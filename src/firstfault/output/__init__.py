"""What leaves: text that no page takes for markup, files written whole, names of files, cells of spreadsheets."""
