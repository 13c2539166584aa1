"""What commands share: from options to an open host, what a run would do, does, and promises. It knows no verb."""
