"""What only one paper's figures need to compute: a module per paper, named by the paper's id.

A module has ``COMPUTE``, functions by the name of the data: each takes the run that the paper's ``figure_data`` names,
or None where it names none, and returns what the figure is drawn from.
"""
