"""What can be reached and how: profiles of boards, and transports to devices."""
