"""The court: any rulebook over any history and set of portfolios, and the tests that judge it."""
