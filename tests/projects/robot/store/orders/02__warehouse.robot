*** Settings ***
Documentation       The set-up fails, so no test runs and all fail.
Suite Setup         Fail    warehouse door is locked
Force Tags          warehouse


*** Test Cases ***
Shelf 1
    Log    shelf 1 is full

Shelf 2
    Log    shelf 2 is full

Shelf 3
    Log    shelf 3 is full

Shelf 4
    Log    shelf 4 is full

Shelf 5
    Log    shelf 5 is full

Shelf 6
    Log    shelf 6 is full

Shelf 7
    Log    shelf 7 is full

Shelf 8
    Log    shelf 8 is full

Shelf 9
    Log    shelf 9 is full

Shelf 10
    [Tags]    slow
    Log    shelf 10 is full

Shelf 11
    Log    shelf 11 is full

Shelf 12
    Log    shelf 12 is full

Shelf 13
    Log    shelf 13 is full

Shelf 14
    Log    shelf 14 is full

Shelf 15
    Log    shelf 15 is full

Shelf 16
    Log    shelf 16 is full

Shelf 17
    Log    shelf 17 is full

Shelf 18
    Log    shelf 18 is full

Shelf 19
    Log    shelf 19 is full

Shelf 20
    [Tags]    slow
    Log    shelf 20 is full

Shelf 21
    Log    shelf 21 is full

Shelf 22
    Log    shelf 22 is full

Shelf 23
    Log    shelf 23 is full

Shelf 24
    Log    shelf 24 is full

Shelf 25
    Log    shelf 25 is full

Shelf 26
    Log    shelf 26 is full

Shelf 27
    Log    shelf 27 is full

Shelf 28
    Log    shelf 28 is full

Shelf 29
    Log    shelf 29 is full

Shelf 30
    [Tags]    slow
    Log    shelf 30 is full

Shelf 31
    Log    shelf 31 is full

Shelf 32
    Log    shelf 32 is full

Shelf 33
    Log    shelf 33 is full

Shelf 34
    Log    shelf 34 is full

Shelf 35
    Log    shelf 35 is full

Shelf 36
    Log    shelf 36 is full

Shelf 37
    Log    shelf 37 is full

Shelf 38
    Log    shelf 38 is full

Shelf 39
    Log    shelf 39 is full

Shelf 40
    [Tags]    slow
    Log    shelf 40 is full
