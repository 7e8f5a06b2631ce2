"""Finding symmetries: record a module, follow its index sets through every op, solve, verify."""

from isoloss.finding import calculus
from isoloss.finding._certificate import Certificate, certificate
from isoloss.finding._find import find
from isoloss.finding.rules import Context, rule

__all__ = ["Certificate", "Context", "calculus", "certificate", "find", "rule"]
