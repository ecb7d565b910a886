"""Traffic capture: the rules that lead the connections of a workload through the proxy.

Config -> typed rules (`rules`) -> text (`render_restore`, `render_nft`) -> one runner (`runner`); what is installed
comes back into the same model (`observe`, `observe_nft`), and `plan` is the difference. It imports neither
`proxy` nor `xds_client`, so that an init container can run it alone.
"""
