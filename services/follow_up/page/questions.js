// The wording of the questionnaires that may be shown by anybody: PHQ-9 and GAD-7, by R. L. Spitzer, J. B. W. Williams, K. Kroenke
// and colleagues, made with an educational grant from Pfizer Inc. No permission is required to reproduce, translate, display or
// distribute them. The wording must stay as it was validated. Text under licence is not here: a clinic brings its own.

const OFTEN = ["Not at all", "Several days", "More than half the days", "Nearly every day"];

export const NOTICE =
  "Questions by Drs. Robert L. Spitzer, Janet B. W. Williams, Kurt Kroenke and colleagues, with an educational grant from Pfizer Inc.";

export const QUESTIONNAIRES = {
  phq9: {
    asks: "Over the last 2 weeks, how often have you been bothered by any of the following problems?",
    answers: OFTEN,
    items: [
      "Little interest or pleasure in doing things",
      "Feeling down, depressed, or hopeless",
      "Trouble falling or staying asleep, or sleeping too much",
      "Feeling tired or having little energy",
      "Poor appetite or overeating",
      "Feeling bad about yourself, or that you are a failure or have let yourself or your family down",
      "Trouble concentrating on things, such as reading the newspaper or watching television",
      "Moving or speaking so slowly that other people could have noticed? Or the opposite, being so fidgety or restless that " +
        "you have been moving around a lot more than usual",
      "Thoughts that you would be better off dead or of hurting yourself in some way",
    ],
    suicide: 9,
    difficulty: {
      text:
        "If you checked off any problems, how difficult have these problems made it for you to do your work, take care of " +
        "things at home, or get along with other people?",
      answers: ["Not difficult at all", "Somewhat difficult", "Very difficult", "Extremely difficult"],
    },
  },
  gad7: {
    asks: "Over the last 2 weeks, how often have you been bothered by the following problems?",
    answers: OFTEN,
    items: [
      "Feeling nervous, anxious, or on edge",
      "Not being able to stop or control worrying",
      "Worrying too much about different things",
      "Trouble relaxing",
      "Being so restless that it is hard to sit still",
      "Becoming easily annoyed or irritable",
      "Feeling afraid, as if something awful might happen",
    ],
  },
};
