*** Settings ***
Suite Setup         Log    orders open
Suite Teardown      Log    orders closed
