"""A stateful stand-in for payment providers: hosted pay pages, signed webhooks, a clock to turn."""
