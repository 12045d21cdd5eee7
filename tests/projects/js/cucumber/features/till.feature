Feature: Till

  @smoke
  Scenario: Opens
    Given the till
    Then it opens

  Scenario Outline: Takes <coin>
    Given the till
    Then it takes <coin>

    Examples:
      | coin |
      | 1    |
      | 3    |

  Scenario: Second try
    Then it opens on the second try

  Scenario: Undefined
    Then nobody wrote this

  Scenario: Skipped
    Then it rains
