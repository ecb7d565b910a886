"""The DNS cache of dynamic forward proxies: names come with the traffic, and are resolved and kept while used."""
