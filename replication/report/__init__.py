"""What readers see: tables of measured beside published, training curves, one HTML page. No torch."""

from replication.report.page import write_report
from replication.report.tables import render_table, terminal_table, write_tables

__all__ = ["render_table", "terminal_table", "write_report", "write_tables"]
