"""Projects, people, keys and everything else that is administered: kept in SQL, served over REST."""
