"""Charts as SVG, and samples as pictures: what checks, sweeps and the report draw with."""
