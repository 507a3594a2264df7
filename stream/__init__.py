"""The live path: transport, session, stages, server and page. Never imports torch."""
