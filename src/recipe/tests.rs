use super::*;
use crate::cells::Cell;
use crate::data::Split;
use crate::network::{Layer, Loss, Reads};

fn mnist() -> Recipe {
    Recipe::load("mnist").unwrap()
}

#[test]
fn a_recipe_made_in_code_can_be_written_and_read_and_has_no_data_to_load() {
    let head = HeadRecipe::new(Reads::Every, Loss::CrossEntropy);
    for optimizer in [
        Optimizer::sgd(0.1),
        Optimizer::adam(0.1),
        Optimizer::adamw(0.1),
        Optimizer::rmsprop(0.1),
    ] {
        let layers = vec![Layer::new(Cell::Lstm, 32), Layer::new(Cell::RnnTanh, 8)];
        let recipe = Recipe::new("waves", layers, head.clone(), optimizer);
        recipe.validate().unwrap();
        let text = recipe.to_toml().unwrap();
        assert_eq!(Recipe::parse(&text, "printed").unwrap(), recipe, "{text}");
        let json = serde_json::to_string(&recipe).unwrap();
        assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
        for error in [
            recipe.data.load(0).unwrap_err(),
            recipe
                .data
                .source()
                .load_split(Split::Test, 0, None)
                .unwrap_err(),
        ] {
            assert_eq!(error.exit_code(), 2);
            let message = error.to_string();
            assert!(message.contains("uses the library"), "{message}");
        }
        let mut wrong = recipe.clone();
        let message = wrong.set(&["data.path=mine"]).unwrap_err().to_string();
        assert!(message.contains("unknown key `path`"), "{message}");
    }
    // Constants that a file leaves out are those of the constructors.
    let mut adam = mnist();
    adam.set(&["optimizer={kind=\"adam\", lr=0.1}"]).unwrap();
    assert_eq!(adam.optimizer, Optimizer::adam(0.1));
    adam.set(&["optimizer={kind=\"sgd\", lr=0.1}"]).unwrap();
    assert_eq!(adam.optimizer, Optimizer::sgd(0.1));
}

#[test]
fn errors_of_validate_say_what_is_allowed() {
    for (edit, expected) in [
        ("name=a/b", "it names a directory"),
        ("name=..", "it names a directory"),
        ("epochs=0", "at least 1"),
        ("epochs=5000000000", "at most 4294967295"),
        ("batch_size=0", "at least 1"),
        ("clip_norm=0.0", "clip_norm is 0"),
        ("data.classes=1", "it must be 2 to 256"),
        ("network.layer=[]", "at least one"),
        ("network.layer.0.hidden_size=0", "hidden_size"),
        ("network.layer.0.forget_bias=inf", "forget_bias"),
        ("network.head.reads=every", "reads = \"last\""),
        (
            "network.head.loss=mean-squared-error",
            "loss = \"cross-entropy\"",
        ),
        ("optimizer.lr=nan", "optimizer.lr is NaN"),
        ("optimizer.lr=-0.1", "optimizer.lr is -0.1"),
        ("optimizer.beta1=1.0", "below 1"),
        ("optimizer.epsilon=0.0", "above 0"),
        ("optimizer.weight_decay=-1.0", "a finite number, at least 0"),
        ("clip_value=-1.0", "clip_value is -1"),
        ("steps=0", "steps is 0; it must be at least 1, or left out"),
        ("patience=0", "patience is 0; it must be at least 1"),
        ("report_every=0", "report_every is 0; it must be at least 1"),
        (
            "optimizer={kind=\"sgd\", lr=0.1, momentum=1.0}",
            "optimizer.momentum is 1; it must be at least 0 and below 1",
        ),
        (
            "optimizer={kind=\"sgd\", lr=0.1, nesterov=true}",
            "optimizer.momentum is 0; it must be above 0 if nesterov or dampening is set",
        ),
        (
            "optimizer={kind=\"sgd\", lr=0.1, momentum=0.9, dampening=0.1, nesterov=true}",
            "optimizer.dampening is 0.1; it must be 0 if nesterov is true",
        ),
        (
            "optimizer={kind=\"sgd\", lr=0.1, momentum=0.9, dampening=2.0}",
            "it must be at least 0 and at most 1",
        ),
        (
            "optimizer={kind=\"rmsprop\", lr=0.1, rho=1.0}",
            "optimizer.rho is 1; it must be at least 0 and below 1",
        ),
        (
            "optimizer={kind=\"rmsprop\", lr=0.1, epsilon=0.0}",
            "optimizer.epsilon is 0; it must be a finite number above 0",
        ),
        (
            "schedule={kind=\"step\", every=0}",
            "schedule.every is 0; it must be at least 1",
        ),
        (
            "network.head.init={truncated-normal={stddev=0.0}}",
            "network.head.init.truncated-normal.stddev is 0",
        ),
    ] {
        let mut recipe = mnist();
        recipe.set(&[edit]).unwrap();
        let error = recipe.validate().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn sizes_beyond_the_limits_are_refused() {
    for (edits, expected) in [
        (
            &["data.windows=1000000000000"][..],
            "at most 1073741824 are allowed",
        ),
        (
            &[
                "data.steps=1000000",
                "data.windows=1000000",
                "data.range=[0.0, 1e9]",
            ],
            "are 1000000000000 values",
        ),
        (
            &["network.layer.0.hidden_size=9000000000000000000"],
            "parameters; at most 1073741823 are possible",
        ),
        (&["data.range=[-1e308, 1e308]"], "it must be finite"),
    ] {
        let mut recipe = Recipe::load("series").unwrap();
        recipe.set(edits).unwrap();
        let message = recipe.validate().unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let mut deep = mnist();
    deep.network.set_layers(1001);
    let message = deep.validate().unwrap_err().to_string();
    assert!(message.contains("at most 1000 are possible"), "{message}");
}

#[test]
fn gradients_are_clipped_by_norm_or_by_value() {
    let mut recipe = mnist();
    assert_eq!(recipe.clip(), Clip::None);
    recipe.set(&["clip_value=0.5"]).unwrap();
    recipe.validate().unwrap();
    assert_eq!(recipe.clip(), Clip::Value(0.5));
    recipe
        .set(&["clip_norm=2", "clip_form=tensorflow"])
        .unwrap();
    let form = Form::Tensorflow;
    assert_eq!(recipe.clip(), Clip::Norm { limit: 2.0, form });
    let message = recipe.validate().unwrap_err().to_string();
    assert!(message.contains("one of them"), "{message}");
}

#[test]
fn every_option_can_be_written_and_read() {
    for edit in [
        "optimizer={kind=\"sgd\", lr=0.1, momentum=0.9, nesterov=true}",
        "optimizer={kind=\"adamw\", lr=0.1, amsgrad=true}",
        "optimizer={kind=\"rmsprop\", lr=0.1, form=\"tensorflow\", centered=true}",
        "schedule={kind=\"constant\", warm_up=10}",
        "schedule={kind=\"exponential\", every=10, factor=0.5}",
        "schedule={kind=\"cosine\", warm_up=10}",
        "schedule={kind=\"plateau\"}",
        "network.layer.0.init={truncated-normal={stddev=0.1}}",
        "keep_best=true",
        "clip_form=tensorflow",
    ] {
        let mut recipe = mnist();
        recipe.set(&[edit]).unwrap();
        recipe.validate().unwrap();
        assert_ne!(recipe, mnist());
        let text = recipe.to_toml().unwrap();
        assert_eq!(Recipe::parse(&text, "printed").unwrap(), recipe, "{text}");
    }
}

#[test]
fn a_recipe_is_read_from_json_where_null_is_an_absent_key() {
    let mut recipe = mnist();
    recipe.clip_norm = Some(1.0);
    let json = serde_json::to_string(&recipe).unwrap();
    assert_eq!(Recipe::from_json(&json, "json").unwrap(), recipe);
    let json = json.replace("\"clip_norm\":1.0", "\"clip_norm\":null");
    recipe.clip_norm = None;
    assert_eq!(Recipe::from_json(&json, "json").unwrap(), recipe);
    let message = |json: &str| Recipe::from_json(json, "json").unwrap_err().to_string();
    let misspelt = message(&json.replace("batch_size", "batchsize"));
    assert!(
        misspelt.starts_with("json: unknown key `batchsize`"),
        "{misspelt}"
    );
    assert!(misspelt.contains("batch_size"), "{misspelt}");
    assert!(message("[1]").contains("one JSON object"));
    assert!(message("{").starts_with("json: "));
}
