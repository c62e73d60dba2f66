"""What readers see: tables of published and measured numbers, figures, one HTML page. No torch."""

from replication.report.page import write_report
from replication.report.summary import headlines
from replication.report.tables import render_table, terminal_table, write_tables

__all__ = ["headlines", "render_table", "terminal_table", "write_report", "write_tables"]
