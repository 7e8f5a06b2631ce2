"""tmp."""
from isoloss.connect._find import GroupElement, find_group_element
