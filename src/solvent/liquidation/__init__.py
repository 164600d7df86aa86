"""What happens when an account cannot pay: pure plans as values, which the engine executes.

Money is whole smallest units of one asset (`_micro`: millionths of a dollar), positions whole lots,
rates and shares fractions. Nothing here knows a venue's numbers, an engine's state, or a clock.
"""
