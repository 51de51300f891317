"""Who may do what over the network: tokens and roles, limits, and the listener behind them."""
