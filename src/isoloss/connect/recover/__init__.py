"""Recovering group elements from two points of an orbit."""

from isoloss.connect.recover._search import Search

__all__ = ["Search"]
