"""Lives of purchases, as Stripe would tell them: builders of events for the tests."""
