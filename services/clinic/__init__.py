"""Reference data of the clinic: staff with credentials and licences, sites, opening hours, and the roster that pages go by."""
